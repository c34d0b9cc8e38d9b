_base_ = ['./uniform_gfl_r101-r50_fpn_coco.py', '../_base_/methods/random.py']
model = _base_.random
model.selector.cost = 1.9375  # half of what P3 to P7 cost
