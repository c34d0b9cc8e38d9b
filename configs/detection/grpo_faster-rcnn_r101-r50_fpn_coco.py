_base_ = ['./rl-pyramidkd_faster-rcnn_r101-r50_fpn_coco.py', '../_base_/methods/grpo.py']
model = _base_.grpo
