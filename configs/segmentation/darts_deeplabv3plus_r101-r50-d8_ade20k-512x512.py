# DARTS-LS, by tools/search.py; what it finds is trained as uniform_deeplabv3plus_r101-r50-d8_ade20k-512x512 is.
_base_ = ['./uniform_deeplabv3plus_r101-r50-d8_ade20k-512x512.py', '../_base_/datasets/ade20k_search.py', '../_base_/methods/darts.py']
model = _base_.darts
train_dataloader = dict(dataset=dict(ann_file='images/search_train.txt'))
held_out = dict(
    _base_.train_dataloader,
    dataset=dict(_base_.train_dataloader.dataset, ann_file='images/search_val.txt'))
val_dataloader = _base_.search_data.val_dataloader
search = dict(metric=_base_.candidates.metric, then='./uniform_deeplabv3plus_r101-r50-d8_ade20k-512x512.py')
custom_hooks = [
    dict(type='mmrlkd.SeedHook'),
    dict(type='mmrlkd.PhaseHook', phases=[dict(name='pretrain', share=0.3), dict(name='search', share=0.7)]),
    dict(type='mmrlkd.HeldOutHook', dataloader=held_out),
]
train_cfg = dict(max_iters=40000, val_interval=4000)
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=40000, by_epoch=False)]
