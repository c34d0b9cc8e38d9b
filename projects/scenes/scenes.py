"""Scenes of known difficulty: real objects placed on textured canvases.

Every image draws from its own generator, seeded by (seed, split, purpose,
index): an image does not depend on which process renders it, nor on when.
"""

from dataclasses import asdict, dataclass

import cv2
import numpy as np

from .difficulty import (
    COUNT_STRATA,
    DENSE_COUNT,
    MANY,
    STRATA,
    count_stratum,
    is_dense_small,
)
from .sources import SOURCES, SPLITS, ObjectSource

#: Last numbers of a seed: what the generator is used for.
_SCENE, _SINGLE, _PLAN, _CAMERA = range(4)

#: The camera of the plain scenes, and one that :func:`second_camera` imitates.
CAMERAS = ('a', 'b')

_COUNTS = {**COUNT_STRATA, MANY: (11, 15)}
#: Longer side of an object as a share of the canvas's, by stratum. Each range
#: reaches the smallest size, so that size alone does not tell the count, and
#: together they cover the anchors of four pyramid levels.
_SIDES = {'1-3': (.1, .75), '4-7': (.1, .5), '8-10': (.1, .4), MANY: (.1, .3)}
_SMALL_SIDES = (.08, .125)
_SINGLE_SIDES = (.4, .85)

_POSITIONS, _ATTEMPTS = 40, 50

#: What the second camera does to a negative, as ranges: the share of blue that its
#: colour cast takes away, and the standard deviation of its noise in grey values.
_CAST, _NOISE = (.2, .6), (2, 6)
#: Shares of blue, green and red that a whole cast takes away.
_CAST_BGR = (1., .4, 0.)


@dataclass(frozen=True)
class SceneConfig:
    """Everything a set of scenes depends on.

    Attributes:
        train, val: number of scenes, and of single-object images, by split.
        size: height and width of every image, in pixels.
        seed: seed of all random numbers.
        source: where objects come from, ``'auto'`` or one of ``SOURCES``.
        classes: 5 or 10, see :func:`~projects.scenes.sources.load_source`.
        proportions: relative share of the strata 1-3, 4-7, 8-10 and >10.
        dense_small: share of the images with more than 7 objects that are
            crowded with small ones.
        max_occlusion: largest share of an object that others may hide.
        clutter: most fragments of objects, not annotated, in an image.
        second_camera: share of the scenes that the second camera takes.
    """

    train: int = 2000
    val: int = 400
    size: int = 128
    seed: int = 0
    source: str = 'auto'
    classes: int = 5
    proportions: tuple[float, ...] = (1, 1, 1, 1)
    dense_small: float = 0.5
    max_occlusion: float = 0.35
    clutter: int = 3
    second_camera: float = 0.

    def __post_init__(self) -> None:
        for name, least in (('train', 1), ('val', 1), ('size', 64),
                            ('seed', 0), ('clutter', 0)):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f'{name} must be {least} or more; got {value}.')
        if self.source not in ('auto', *SOURCES):
            raise ValueError(f'source must be auto, {", ".join(SOURCES)}; '
                             f'got {self.source!r}.')
        if self.classes not in (5, 10):
            raise ValueError(f'classes must be 5 or 10; got {self.classes}.')
        if (len(self.proportions) != len(STRATA) or min(self.proportions) < 0
                or not 0 < sum(self.proportions) < float('inf')):
            raise ValueError(
                f'proportions must be {len(STRATA)} numbers, none negative and '
                f'not all 0, for {", ".join(STRATA)} objects; '
                f'got {list(self.proportions)}.')
        for name in ('dense_small', 'second_camera'):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f'{name} must lie between 0 and 1; '
                                 f'got {value}.')
        if not 0 <= self.max_occlusion <= 0.9:
            raise ValueError(f'max_occlusion must lie between 0 and 0.9; '
                             f'got {self.max_occlusion}.')

    def asdict(self) -> dict:
        """As JSON reads it back; of scenes of one camera, without the second,
        so that they keep the bytes that they had before there was another."""
        values = {**asdict(self), 'proportions': list(self.proportions)}
        if not self.second_camera:
            del values['second_camera']
        return values


@dataclass(frozen=True)
class PlacedObject:
    """One annotated object of a scene.

    Attributes:
        label: index of its class.
        source_index: index of its image in the source.
        occlusion: share of it that other objects hide, in [0, 1).
    """

    label: int
    source_index: int
    occlusion: float


@dataclass(frozen=True)
class Scene:
    """An image and what is known about it.

    Attributes:
        image: (S, S, 3) uint8, BGR.
        owner: (S, S) uint8; i + 1 where ``objects[i]`` is visible, else 0.
        objects: the annotated objects.
        difficulty: stratum of the object count, one of ``STRATA``.
        dense_small: whether the scene is crowded with small objects.
    """

    image: np.ndarray
    owner: np.ndarray
    objects: list[PlacedObject]
    difficulty: str
    dense_small: bool

    def label_map(self) -> np.ndarray:
        """(S, S) uint8; 0 for background, k + 1 for class k (as ADE20K)."""
        return np.array([0, *(o.label + 1 for o in self.objects)],
                        dtype=np.uint8)[self.owner]


def plan_strata(config: SceneConfig, split: str) -> list[tuple[str, bool]]:
    """Assign to each scene of a split its difficulty and whether it is dense.

    The shares are met exactly, up to rounding, in a random order.
    """
    plan = []
    total = getattr(config, split)
    for name, count in zip(STRATA, _apportion(total, config.proportions)):
        can_be_dense = _COUNTS[name][0] >= DENSE_COUNT
        dense = round(count * config.dense_small) if can_be_dense else 0
        plan += [(name, True)] * dense + [(name, False)] * (count - dense)
    order = _generator(config, split, _PLAN, 0).permutation(total)
    return [plan[i] for i in order]


def plan_cameras(config: SceneConfig, split: str) -> list[str | None]:
    """Assign a camera to each scene of a split; None where there is only one.

    Each stratum of :func:`plan_strata` has the same share of both, up to
    rounding.
    """
    plan = plan_strata(config, split)
    if not config.second_camera:
        return [None] * len(plan)
    cameras: list[str | None] = ['a'] * len(plan)
    share = config.second_camera
    for rank, index in enumerate(sorted(range(len(plan)), key=plan.__getitem__)):
        # Spread evenly over the ranks, as Bresenham draws a line.
        if int((rank + 1) * share) > int(rank * share):
            cameras[index] = 'b'
    return cameras


def second_camera(config: SceneConfig, image: np.ndarray, split: str,
                  index: int) -> np.ndarray:
    """An image as a second camera takes it: a negative with a colour cast and
    some noise. How much of both is drawn for each image.

    Shapes and textures are kept, so that it can be learnt as the plain image
    can; but objects, which are bright on dim canvases, are dark on bright ones,
    and who knows plain images alone mistakes them.

    Args:
        image: (S, S, 3) uint8, BGR; is left as it is.
        split, index: of the scene; they seed the drawing.

    Returns:
        (S, S, 3) uint8.
    """
    rng = _generator(config, split, _CAMERA, index)
    gain = 1 - rng.uniform(*_CAST) * np.array(_CAST_BGR)
    noise = rng.normal(0, rng.uniform(*_NOISE), image.shape)
    return np.clip(gain * (255. - image) + noise, 0, 255).astype(np.uint8)


def render_scene(config: SceneConfig, source: ObjectSource,
                 photos: tuple[np.ndarray, ...], split: str, index: int,
                 difficulty: str, dense_small: bool) -> Scene:
    """Render one scene of the wanted stratum.

    Args:
        photos: arrays of (H, W, 3) uint8 that backgrounds are cut from.
        split: ``'train'`` or ``'val'``.
        index: number of the scene within its split.
        difficulty, dense_small: its entry in :func:`plan_strata`.

    Raises:
        RuntimeError: if the objects cannot be placed under ``max_occlusion``.
    """
    rng = _generator(config, split, _SCENE, index)
    sides = _SMALL_SIDES if dense_small else _SIDES[difficulty]
    for _ in range(_ATTEMPTS):
        count = rng.integers(*_COUNTS[difficulty], endpoint=True)
        labels = rng.integers(len(source.classes), size=count)
        scene = _compose(config, source, photos, split, rng, labels, sides)
        if scene and (scene.difficulty, scene.dense_small) == (
                difficulty, dense_small):
            return scene
    raise RuntimeError(
        f'Scene {index} of {split} could not hold {difficulty} objects with '
        f'max_occlusion {config.max_occlusion}; allow more occlusion.')


def render_single(config: SceneConfig, source: ObjectSource,
                  photos: tuple[np.ndarray, ...], split: str,
                  index: int) -> Scene:
    """Render an image of one object, of class ``index`` modulo K."""
    rng = _generator(config, split, _SINGLE, index)
    labels = np.array([index % len(source.classes)])
    scene = _compose(config, source, photos, split, rng, labels, _SINGLE_SIDES)
    assert scene is not None  # nothing can hide a single object
    return scene


def _compose(config: SceneConfig, source: ObjectSource,
             photos: tuple[np.ndarray, ...], split: str,
             rng: np.random.Generator, labels: np.ndarray,
             sides: tuple[float, float]) -> Scene | None:
    """Place one object for each label, large ones first; None if they clash."""
    pools = source.pools[split]
    canvas = _background(rng, photos, split, config.size)
    for _ in range(rng.integers(config.clutter, endpoint=True)):
        fragment = _fragment(rng, source, pools, config.size)
        _blend(canvas, *fragment, *_position(rng, canvas, fragment[1]))

    owner = np.zeros((config.size, config.size), np.uint8)
    full = np.zeros(len(labels) + 1, int)  # area of each object, 0 for none
    hidden = np.zeros(len(labels) + 1, int)
    drawn = np.sort(_log_uniform(rng, *sides, len(labels)))[::-1]
    objects = []
    for i, (label, side) in enumerate(zip(labels, drawn), start=1):
        source_index = int(rng.choice(pools[label]))
        colour, coverage = _tint(
            rng, *source.cut_out(source_index, round(side * config.size)))
        mask = coverage >= 0.5
        for _ in range(_POSITIONS):
            y, x = _position(rng, canvas, coverage)
            window = owner[y:y + mask.shape[0], x:x + mask.shape[1]]
            covers = np.bincount(window[mask], minlength=len(full))
            covers[0] = 0
            if (hidden + covers <= config.max_occlusion * full).all():
                break
        else:
            return None
        hidden += covers
        full[i] = mask.sum()
        window[mask] = i
        _blend(canvas, colour, coverage, y, x)
        objects.append((int(label), source_index))

    areas = full[1:] - hidden[1:]
    return Scene(
        canvas, owner,
        [PlacedObject(*o, float(1 - a / f))
         for o, a, f in zip(objects, areas, full[1:])],
        count_stratum(len(objects)), is_dense_small(areas, config.size**2))


def _background(rng: np.random.Generator, photos: tuple[np.ndarray, ...],
                split: str, size: int) -> np.ndarray:
    """(S, S, 3) uint8: a dim crop of a photo, a gradient, stripes or noise."""
    kind = rng.choice(['photo', 'gradient', 'stripes', 'noise'],
                      p=[.55, .15, .15, .15])
    if kind == 'photo':
        photo = photos[rng.integers(len(photos))]
        border = round(0.7 * photo.shape[1])  # the splits share no pixel
        part = photo[:, :border] if split == SPLITS[0] else photo[:, border:]
        side = int(rng.integers(48, min(part.shape[:2]), endpoint=True))
        y, x = (rng.integers(n - side, endpoint=True) for n in part.shape[:2])
        crop = cv2.resize(part[y:y + side, x:x + side], (size, size),
                          interpolation=cv2.INTER_AREA)
        crop = cv2.GaussianBlur(crop, (0, 0), rng.uniform(.3, 2) * size / 128)
        texture = crop.astype(np.float32) * rng.uniform(.3, .65)
        return (texture[:, ::-1] if rng.random() < .5 else texture).astype(
            np.uint8)
    ends = rng.uniform(10, 120, (2, 3))
    if kind == 'noise':
        cells = int(rng.integers(3, 24))
        blend = cv2.resize(rng.random((cells, cells)), (size, size),
                           interpolation=cv2.INTER_LINEAR)
    else:
        angle = rng.uniform(0, np.pi)
        rows, columns = np.mgrid[:size, :size] / size
        blend = np.cos(angle) * rows + np.sin(angle) * columns
        if kind == 'stripes':
            turns = rng.uniform(2, 12)
            blend = .5 + .5 * np.sin(2 * np.pi * turns * blend)
        else:
            blend = (blend - blend.min()) / np.ptp(blend)
    texture = ends[0] + blend[..., None] * (ends[1] - ends[0])
    texture += rng.normal(0, 4, texture.shape)
    return np.clip(texture, 0, 255).astype(np.uint8)


def _fragment(rng: np.random.Generator, source: ObjectSource,
              pools: tuple[np.ndarray, ...],
              size: int) -> tuple[np.ndarray, np.ndarray]:
    """A tinted piece of an object, too small a part to be the object."""
    index = rng.choice(pools[rng.integers(len(pools))])
    side = _log_uniform(rng, .2, .6, 1)[0] * size
    colour, coverage = _tint(rng, *source.cut_out(int(index), round(side)))
    height, width = (max(2, round(n * rng.uniform(.25, .45)))
                     for n in coverage.shape)
    y, x = (rng.integers(max(n - m, 0), endpoint=True)
            for n, m in zip(coverage.shape, (height, width)))
    piece = np.s_[y:y + height, x:x + width]
    return colour[piece], coverage[piece]


def _tint(rng: np.random.Generator, intensity: np.ndarray,
          coverage: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour an object at random, so that colour tells nothing of its class.

    Returns:
        Colour (h, w, 3) float32 in [0, 255], and the coverage as given.
    """
    hsv = np.array([[[rng.uniform(0, 360), rng.uniform(.15, .8),
                      rng.uniform(.8, 1)]]], np.float32)
    tint = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR) * 255
    return (.3 + .7 * intensity)[..., None] * tint, coverage


def _blend(canvas: np.ndarray, colour: np.ndarray, coverage: np.ndarray,
           y: int, x: int) -> None:
    """Draw onto the canvas in place, with soft edges one pixel wide."""
    alpha = np.clip(2 * coverage - .5, 0, 1)[..., None]
    window = canvas[y:y + coverage.shape[0], x:x + coverage.shape[1]]
    window[:] = (1 - alpha) * window + alpha * colour


def _position(rng: np.random.Generator, canvas: np.ndarray,
              sprite: np.ndarray) -> tuple[int, int]:
    """Upper left corner (y, x) that keeps the sprite on the canvas."""
    y, x = (int(rng.integers(n - m, endpoint=True))
            for n, m in zip(canvas.shape, sprite.shape))
    return y, x


def _log_uniform(rng: np.random.Generator, low: float, high: float,
                 count: int) -> np.ndarray:
    return np.exp(rng.uniform(np.log(low), np.log(high), count))


def _apportion(total: int, proportions: tuple[float, ...]) -> list[int]:
    """Split ``total`` by largest remainders (Hamilton's method)."""
    exact = total * np.array(proportions, float) / sum(proportions)
    counts = np.floor(exact).astype(int)
    rest = np.argsort(counts - exact, kind='stable')[:total - counts.sum()]
    counts[rest] += 1
    return counts.tolist()


def _generator(config: SceneConfig, split: str, purpose: int,
               index: int) -> np.random.Generator:
    return np.random.default_rng(
        [config.seed, SPLITS.index(split), purpose, index])
