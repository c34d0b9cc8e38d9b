"""What is found before a teacher is trained."""

import pytest

from projects.experiments.runs import ExperimentFailed, Run
from projects.experiments.training import check_waiting


def test_what_cannot_work_need_not_wait_for_a_teacher(run_config, tmp_path):
    config = tmp_path / 'pair.py'
    cfg = run_config()
    cfg.model.teacher.checkpoint = str(tmp_path / 'not trained yet.pth')
    cfg.dump(config)

    def run(*options):
        return Run('pair', 0, tmp_path, config, options)

    check_waiting([run(), run('model.loss_weight=0.5')])
    with pytest.raises(ExperimentFailed, match=(
            '^pair, seed 0: budget=0 does not pay for a single level')):
        check_waiting([run(), run('model.budget=0')])
