# Leave one out: learnt from the other three demo tasks, tested on classification.
_base_ = './demo.py'
left_out = 'classification'
