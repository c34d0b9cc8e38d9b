_base_ = ['./rl-pyramidkd_faster-rcnn_r101-r50_fpn_coco.py', '../_base_/methods/ppo_greedy.py']
model = _base_.ppo_greedy
