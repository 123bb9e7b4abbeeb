"""Everything that executes: Celery workers, the controller, and the built-in job kinds."""
