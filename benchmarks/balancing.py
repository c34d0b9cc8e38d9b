"""What balancing the levels adds to a forward and backward pass.

    python benchmarks/balancing.py [--json OUT] [--rounds 40] [--students trunk-64 …]

The floor is the plain sum of the losses, one backward pass. The student is a
RetinaNet on ResNet-18 with 64, 128 or 256 channels at P2..P5, on images of 128
px: its trunk, which is backbone and FPN, or the whole detector with its loss.
Each level's loss is the mean squared error to a constant map; no teacher runs,
no optimizer steps. Beside this package's balancers stand the
GradNorm of the drafts, whose gradient norms run over all parameters, with a
graph through them and a backward pass of its own, and torchjd's ``backward``
over all parameters. All variants start from the same weights and see the same
images; ``_measure.py`` says how they are measured.
"""

from collections.abc import Callable

import torch
from _measure import Benchmark, Sweep, run
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.autograd import grad

import mmrlkd  # noqa: F401
from mmrlkd.distillation.features.adapters import adapt
from mmrlkd.distillation.features.levels import choose_levels
from mmrlkd.distillation.weighting.balancing import Balancing, LevelTerms
from mmrlkd.registry import LOSSES, MODELS

LEVELS = ('P2', 'P3', 'P4', 'P5')
#: What runs, and the width of the FPN. What the rows cost is the way from the
#: level maps to the shared layer, that is the neck's output convolutions: it
#: grows with the width squared, as the heads do; the backbone does not.
STUDENTS = ('trunk-64', 'trunk-128', 'trunk-256',
            'detector-64', 'detector-128', 'detector-256')
#: Side of the images.
SIZE = 128
FLOOR = 'plain sum'
EXACT = 'PCGrad, exact'
#: Rounds that make one quotient.
GROUP = 2
BALANCERS: dict[str, dict] = {
    'GradNorm': dict(type='mmrlkd.GradNorm'),
    'EMA': dict(type='mmrlkd.EMABalancer'),
    'PCGrad': dict(type='mmrlkd.PCGrad'),
    EXACT: dict(type='mmrlkd.PCGrad', exact=True),
    'torchjd UPGrad at the layer': dict(type='mmrlkd.TorchJDBalancer'),
}
DRAFTS = 'GradNorm of the drafts'
TORCHJD = 'torchjd backward, UPGrad'


def build_student(channels: int) -> nn.Module:
    """A detector."""
    return MODELS.build(ConfigDict(
        type='RetinaNet', _scope_='mmdet',
        backbone=dict(
            type='ResNet', depth=18, out_indices=(0, 1, 2, 3),
            norm_cfg=dict(type='BN'), norm_eval=False, style='pytorch'),
        neck=dict(type='FPN', in_channels=[64, 128, 256, 512],
                  out_channels=channels, num_outs=4),
        bbox_head=dict(
            type='RetinaHead', num_classes=5, in_channels=channels,
            feat_channels=channels, anchor_generator=dict(
                type='AnchorGenerator', octave_base_scale=4,
                scales_per_octave=3, ratios=[0.5, 1.0, 2.0],
                strides=[4, 8, 16, 32]),
            loss_bbox=dict(type='L1Loss')),
        train_cfg=dict(
            assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5,
                          neg_iou_thr=0.4, min_pos_iou=0),
            sampler=dict(type='PseudoSampler'),
            allowed_border=-1, pos_weight=-1)))


def make_samples(batch: int, device: torch.device) -> list[DetDataSample]:
    """Annotations of images with four objects each."""
    samples = []
    for _ in range(batch):
        corner = torch.rand(4, 2) * SIZE / 2
        sample = DetDataSample(
            metainfo=dict(img_shape=(SIZE, SIZE), pad_shape=(SIZE, SIZE)))
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + SIZE / 4], dim=1),
            labels=torch.randint(5, (4,)))
        samples.append(sample.to(device))
    return samples


def drafts(losses: list[Tensor], task: Tensor,
           parameters: list[nn.Parameter], weights: Tensor) -> None:
    """The drafts' GradNorm, line by line; its weights get no gradient."""
    norms = torch.stack([
        torch.stack([g.norm() for g in grad(
            loss, parameters, create_graph=True, allow_unused=True)
            if g is not None]).norm() for loss in losses])
    values = torch.stack(losses)
    rates = values / values.mean()
    target = (norms.mean() * rates**1.5).detach()
    (norms - target).abs().sum().backward(retain_graph=True)
    ((weights * values).sum() + task).backward()


def make_step(name: str, batch: int, kind: str,
              device: torch.device) -> Callable[[int], None]:
    """A function that runs one forward and backward pass."""
    init_default_scope('mmdet')
    torch.manual_seed(0)
    part, width = kind.split('-')
    channels = int(width)
    model = build_student(channels).to(device).train()
    student = adapt(model, 'student')
    parameters = [*student.backbone.parameters(), *student.neck.parameters()]
    images = torch.randn(batch, 3, SIZE, SIZE, device=device)
    targets = [torch.randn(batch, channels, SIZE // 2**i, SIZE // 2**i,
                           device=device) for i in range(2, 6)]
    samples = make_samples(batch, device)
    loss = LOSSES.build(dict(type='mmrlkd.MSELoss'))
    weights = torch.ones(4, device=device)
    optimizer = OptimWrapper(torch.optim.SGD(parameters, lr=0.0))
    balancing = (Balancing(
        BALANCERS[name], student, choose_levels(student, LEVELS))
        if name in BALANCERS else None)
    aggregator = None
    if name == TORCHJD:
        from torchjd import aggregation
        aggregator = aggregation.UPGrad()

    def backward(losses: list[Tensor], task: Tensor) -> None:
        if balancing is not None:
            terms = LevelTerms(losses, weights / 4, [True] * 4)
            total, _ = balancing.combine(
                terms, task, optimizer, update=True)
            (total['loss_distill'] + task).backward()
        elif aggregator is not None:
            from torchjd import autojac
            autojac.backward(losses, inputs=parameters, retain_graph=True)
            autojac.jac_to_grad(parameters, aggregator)
            if task.requires_grad:
                task.backward()
        elif name == DRAFTS:
            drafts(losses, task, parameters, weights)
        else:
            (torch.stack(losses).sum() + task).backward()

    def step(_: int) -> None:
        model.zero_grad()
        maps = student.neck(student.backbone(images))
        task = weights.new_zeros(())
        if part == 'detector':
            task, _ = model.parse_losses(model.bbox_head.loss(maps, samples))
        backward([loss(mine, theirs).mean() / 4
                  for mine, theirs in zip(maps, targets, strict=True)], task)

    # What the first convolutions load belongs to no variant.
    small = student.neck(student.backbone(images[:2, :, :32, :32]))
    torch.stack([each.sum() for each in small]).sum().backward()
    model.zero_grad()
    return step


if __name__ == '__main__':
    run(Benchmark(
        __file__, 'forward and backward',
        (FLOOR, *BALANCERS, DRAFTS, TORCHJD),
        Sweep('students', 'channels', STUDENTS, STUDENTS), make_step, GROUP,
        rounds=40, slow=(EXACT, DRAFTS, TORCHJD)),
        __doc__.splitlines()[0])
