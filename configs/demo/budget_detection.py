# The detection demo's student, trained to bear skipped blocks, and how a
# controller may run it: see docs/latency_budget.md.
_base_ = './detection_student.py'
custom_hooks = [
    dict(type='mmrlkd.SeedHook'),
    dict(type='mmrlkd.DropBlocksHook', rate=0.5),
]
