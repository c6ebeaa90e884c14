"""The report of a run, report.html: its collected answers, its figures, and the page."""
