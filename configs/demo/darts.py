# DARTS-LS, by tools/search.py: the student of the search is thrown away, the subset
# it finds is trained anew.
_base_ = ['./uniform.py', '../_base_/datasets/scenes_detection_search.py']
model = dict(
    selector=dict(_delete_=True, type='mmrlkd.DARTSSelector', lr=0.05))
train_dataloader = dict(
    dataset=dict(ann_file='annotations/search_train.json'))
held_out = _base_.train_dataloader
held_out.dataset.ann_file = 'annotations/search_val.json'
val_dataloader = _base_.search_data.val_dataloader
val_evaluator = _base_.search_data.val_evaluator
search = dict(metric='coco/bbox_mAP', then='./uniform.py')
custom_hooks = [
    dict(type='mmrlkd.SeedHook'),
    dict(
        type='mmrlkd.PhaseHook',
        phases=[
            dict(name='pretrain', share=8 / 15),
            dict(name='search', share=7 / 15),
        ]),
    dict(type='mmrlkd.HeldOutHook', dataloader=held_out),
]
train_cfg = dict(max_iters=300, val_interval=150)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR', by_epoch=False, begin=50, end=300,
        eta_min=0),
]
