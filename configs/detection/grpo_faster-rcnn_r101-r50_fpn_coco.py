# Four episodes for each image make an update of every batch.
_base_ = './rl-pyramidkd_faster-rcnn_r101-r50_fpn_coco.py'
model = dict(
    selector=dict(
        rollout_batches=1,
        learner=dict(_delete_=True, type='mmrlkd.GRPO', group_size=4)))
