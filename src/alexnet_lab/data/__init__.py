"""The images: where they come from, what proves them, and the arrays that training reads."""
