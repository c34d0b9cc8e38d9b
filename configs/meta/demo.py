# The four demo tasks, each recorded once by
#     python tools/meta_study.py --record-only
# and learnt by
#     python tools/meta_train.py configs/meta/demo.py
tasks = {
    name: dict(config=f'configs/demo/{name}.py',
               recording=f'work_dirs/meta/{name}/recording.safetensors')
    for name in ('detection', 'instance', 'segmentation', 'classification')
}
policy = dict(type='mmrlkd.TokenPolicy', width=16, hidden=32, layers=1)
learner = dict(type='mmrlkd.MAML', lr=0.3, meta_lr=1e-2, steps=5, shots=100)
horizon = 1
iterations = 30
interval = 10
seed = 0
