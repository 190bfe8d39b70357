"""AlexNet Lab: what made AlexNet work, as five small ablations."""
