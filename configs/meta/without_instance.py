# Leave one out: learnt from the other three demo tasks, tested on instance.
_base_ = './demo.py'
left_out = 'instance'
