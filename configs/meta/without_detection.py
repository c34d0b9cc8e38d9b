# Leave one out: learnt from the other three demo tasks, tested on detection.
_base_ = './demo.py'
left_out = 'detection'
