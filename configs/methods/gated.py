# CMAPKD: a gating network weighs the levels of each image; all are distilled.
_base_ = './uniform.py'
method = dict(
    model=dict(
        selector=dict(
            _delete_=True,
            type='mmrlkd.GatedSelector',
            gate=dict(type='mmrlkd.MLPPolicy'))))
