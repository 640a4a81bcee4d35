"""Hands subtasks around by Celery and RabbitMQ. Nothing else imports them.

Raises:
    ClusterConfigurationError: on import, where Celery is not installed.
"""

from importlib.util import find_spec

from plugin_framework.errors import ClusterConfigurationError, Code

if find_spec("celery") is None:
    raise ClusterConfigurationError(
        "engine celery: Celery is not installed: pip install 'datahub-plugin-framework[celery]'",
        code=Code.EXTRA_MISSING,
    )
