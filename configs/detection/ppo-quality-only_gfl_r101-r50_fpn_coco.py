_base_ = ['./rl-pyramidkd_gfl_r101-r50_fpn_coco.py', '../_base_/methods/ppo_quality_only.py']
model = _base_.ppo_quality_only
