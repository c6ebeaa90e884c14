"""What every part of a project promises, as checks that a test of one's own calls in one line.

    from engine.testing import check_backbone

    def test_it_keeps_its_promises_with_other_widths():
        check_backbone("strided", widths=[4, 8])

Parts are named as in the project's dictionaries, so `import project` comes first. Each list of checks holds plain
functions of the same arguments, to be tried one by one. Nothing here imports pytest, and nothing of the engine imports
this; `pytest.register_assert_rewrite("engine.testing")` in conftest.py has failing checks show their values.
"""

from engine.testing.backbones import BACKBONE_CHECKS, check_backbone
from engine.testing.data import DATA_CHECKS, check_data
from engine.testing.export import check_export
from engine.testing.heads import HEAD_CHECKS, check_head
from engine.testing.tasks import TASK_CHECKS, check_task

__all__ = [
    "BACKBONE_CHECKS",
    "DATA_CHECKS",
    "HEAD_CHECKS",
    "TASK_CHECKS",
    "check_backbone",
    "check_data",
    "check_export",
    "check_head",
    "check_task",
]
