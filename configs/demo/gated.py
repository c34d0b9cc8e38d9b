# CMAPKD: a gating network weighs the levels of each image; all are distilled.
_base_ = './uniform.py'
model = dict(
    selector=dict(
        _delete_=True,
        type='mmrlkd.GatedSelector',
        # As small as the student: its widths, nothing to project.
        gate=dict(
            type='mmrlkd.MLPPolicy', hidden=64, global_dim=128,
            level_dim=64)))
