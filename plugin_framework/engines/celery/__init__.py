"""Hands subtasks around by Celery and RabbitMQ. Nothing else imports them."""
