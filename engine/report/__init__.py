"""The report of a run, report.html: what is collected while it is measured, how it is drawn, and the page."""
