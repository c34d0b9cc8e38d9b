_base_ = './rl-pyramidkd_faster-rcnn_r101-r50_fpn_coco.py'
model = dict(selector=dict(horizon=1))
