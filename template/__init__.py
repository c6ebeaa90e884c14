"""From the template to a project of its user's own; none of this is in the projects that it makes."""
