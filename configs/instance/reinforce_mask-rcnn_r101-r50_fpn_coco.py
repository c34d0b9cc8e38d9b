_base_ = ['./rl-pyramidkd_mask-rcnn_r101-r50_fpn_coco.py', '../_base_/methods/reinforce.py']
model = _base_.reinforce
