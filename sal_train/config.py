"""Settings of a training run. These dataclasses are the documentation of a recipe's keys; `recipe.py` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class ModelConfig:
    """The networks. Defaults are the paper's, gaps filled from the authors' published settings."""

    backbone: Literal["resnet50", "efficientnet_lite0"] = "resnet50"
    weights: str = "imagenet"
    """`imagenet`, `none`, or a file; of a run's model.safetensors the trunk is taken."""
    stride_on: Literal["conv1", "conv2"] = "conv2"
    """ResNet-50 variant: `conv1` for V1 weights, `conv2` for torchvision's (V1.5)."""
    last_stride: int = 2
    height: int = 288
    """Pixels."""
    width: int = 144
    """Pixels."""
    feature_dim: int = 512
    """Length of f_v and f_a."""
    embedding_dim: int = 128
    noise_dim: int = 400
    """Length of z (sec. 3.2)."""
    feature_norm: Literal["none", "batch"] = "none"
    """`batch` standardises f_v with a BatchNorm, so that the generator can reach its range."""
    generator_output: Literal["tanh", "linear"] = "tanh"
    """Output of G_V; tanh cannot reach an f_v beyond +-1."""
    embedding_output: Literal["tanh", "batchnorm"] = "tanh"
    """Output of E_V and E_A; `batchnorm` is an affine-free BatchNorm neck (Luo et al., CVPRW 2019)."""
    encoders: Literal["mlp", "linear"] = "mlp"
    """The attribute backbone, E_V and E_A: MLPs, or one layer each, which cannot learn the training categories by heart
    and embeds people and descriptions better that training never had."""
    linear_query: bool = False
    """After training, a ridge regression from attributes to image embeddings joins the query (`linear_query.py`)."""
    unit_heads: bool = False
    """C_att and C_cat see the L2-normalised embedding, which is what search ranks by."""
    discriminator_norm: Literal["batch", "spectral"] = "batch"
    dropout: float = 0.0
    """Before the FC that gives f_v."""


@dataclass(frozen=True)
class DataConfig:
    """Batches and augmentation."""

    batch_size: int = 128
    validation_fraction: float = 0.0
    """Share of the training categories held out for validation."""
    validation_seed: int = 1
    """Chooses them; runs with other seeds of their own hold out the same ones."""
    validate_every: int = 5
    """Epochs between validations (with a validation_fraction)."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    pad: int = 0
    """Pixels of zero padding before a random crop back to size."""
    erase: float = 0.0
    """Probability of erasing a rectangle."""
    erase_area: float = 0.1
    """Largest share of the image that may be erased."""
    brightness: float = 0.0
    """Half-range of a random gain; hue is never touched, colour is a label."""
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    """`balanced` draws categories by the square root of their size."""


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms; 0 switches a term off. The paper's are all 1 (eqs. 7, 12, 13)."""

    category: float = 1.0
    """L_cat, eq. 2."""
    attribute: float = 1.0
    """L_att, eq. 3."""
    label_smoothing: float = 0.1
    attribute_weighting: Literal["none", "deepmar"] = "none"
    """`deepmar` weighs rare values up by exp(1 - p) (Li et al., ACPR 2015, eq. 3)."""
    gan1: float = 1.0
    """L_gan1, eq. 4."""
    cycle: float = 1.0
    """L_cyc, eq. 5."""
    consistency: float = 1.0
    """L_consis, eq. 6."""
    gan2: float = 1.0
    """L_gan2, eq. 8."""
    augmented_adversarial: float = 1.0
    """L_aug1, eq. 9."""
    augmented_embedding: float = 1.0
    """L_aug2, eq. 10."""
    distil_embedding: float = 1.0
    """Phase `distil`: 1 - cosine of an image's embedding to the teacher's (not in the paper)."""
    distil_similarity: float = 1.0
    """Phase `distil`: divergence of the cosine softmax over the training categories, at `prototype_scale`, from the
    teacher's (not in the paper)."""
    prototype: float = 0.0
    """Cosine softmax of images against E_A of all training categories (not in the paper)."""
    prototype_scale: float = 16.0
    prototype_margin: float = 0.0
    prototype_count: int = 0
    """Categories that are prototypes in an iteration: those of the batch and others at random; 0 takes all."""
    prototype_unseen: bool = False
    """Sampled unseen vectors join the prototypes, as negatives or (with `prototype_softness`) as neighbours."""
    prototype_softness: float = 0.0
    """Temperature, in differing attributes, of targets that fall with the distance from the image's vector to a
    prototype's: 0 wants the image's own category alone."""


@dataclass(frozen=True)
class UnseenConfig:
    """Sampling of unseen attribute combinations (sec. 3.4)."""

    share: float = 1.0
    """Unseen vectors per real sample in a batch; 0 trains on seen ones only."""
    sampler: Literal["bernoulli", "schema", "flip"] = "bernoulli"
    """`bernoulli` as in the paper; `schema` one draw for every exclusive group, with the outcome "none";
    `flip` changes one or two groups of a training vector."""
    reject_seen: bool = False
    """Draw again what turns out to be a training category."""


@dataclass(frozen=True)
class OptimiserConfig:
    """One optimiser a network, whichever phases train it."""

    kind: Literal["adam", "adamw"] = "adam"
    """`adam` adds L2 to the gradient, `adamw` decouples it."""
    weight_decay: float = 5e-4
    decay_norm_and_bias: bool = True
    gradient_clip: float = 0.0
    """Largest gradient norm of a phase; 0 does not clip."""
    ema: float = 0.0
    """Decay of the exponential moving average of the deployed networks; 0 keeps none."""
    batchnorm_real_only: bool = False
    """Synthetic batches do not enter the running statistics of E_V and E_A."""
    batchnorm_of_categories: bool = False
    """What is validated and saved has the attribute branch's statistics over the training categories, each counted
    once, as queries are; otherwise those of training batches, where a category counts as often as it has images."""


@dataclass(frozen=True)
class StageConfig:
    """Some epochs with the same phases, run in the given order every iteration; optimisers start afresh."""

    name: str = "symbiotic"
    phases: tuple[str, ...] = ()
    """Names of `sal_train.phases.PHASES`."""
    epochs: int = 60
    schedule: Literal["steps", "cosine"] = "steps"
    milestones: tuple[float, ...] = ()
    """`steps`: fractions of the stage after which the rate halves."""
    warmup: float = 0.0
    """`cosine`: share of the stage with a linear rise from a tenth."""
    frozen_trunk: bool = False
    """The convolutions stay as they are. Their pooled output is computed once for every image and its mirror image, so
    that an epoch takes seconds on a CPU; of the augmentations only `data.flip` applies."""
    learning_rate: float = 1e-4
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    """Per network, where it differs from `learning_rate`."""


@dataclass(frozen=True)
class RunConfig:
    """Machine and bookkeeping."""

    seed: int = 1
    start_from: str = ""
    """The folder of a finished run of the same networks and training categories, whose weights are taken."""
    teacher: str = ""
    """The folder of a finished run of the same data and embeddings, for the phase `distil`: its attribute branch and
    heads are taken, its image embeddings imitated."""
    device: str = "auto"
    """`auto` takes CUDA where there is one and says so; `cpu` and `cuda` are strict."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the image backbone's arithmetic."""
    device_resident: Literal["auto", "always", "never"] = "auto"
    """Keep all training images on the device; `auto`: on CUDA when they take under half of the free memory."""
    compile: bool = False
    """torch.compile the image backbone."""
    checkpoint_every: int = 1
    """Epochs between checkpoints; the last epoch and one that is stopped after always leave one."""
    deterministic: bool = True
    """Deterministic kernels, which exact resume on CUDA needs."""


@dataclass(frozen=True)
class Config:
    """Everything about a run."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    losses: LossConfig = LossConfig()
    unseen: UnseenConfig = UnseenConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    stages: tuple[StageConfig, ...] = ()
    run: RunConfig = RunConfig()

    @property
    def epochs(self) -> int:
        """Of all stages together."""
        return sum(stage.epochs for stage in self.stages)
