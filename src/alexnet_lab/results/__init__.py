"""From runs to answers: numbers, verdicts, figures, report and page."""
