"""Settings of a training run. These dataclasses document the keys of a recipe; `recipe.py` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class ModelConfig:
    """The networks. Defaults are the paper's; where it gives none, they are the authors' published settings."""

    system: str = "sal"
    """SAL, or a system that the paper compares it with: a key of `sal_train.systems.table.SYSTEMS`."""
    backbone: Literal["resnet50", "efficientnet_lite0", "osnet_0277", "osnet_0286", "osnet_0287", "osnet_0288"] = (
        "resnet50"
    )
    """ImageNet networks, or OSNets for person re-identification; of these, 0277 is the largest, 0288 the smallest."""
    weights: str = "imagenet"
    """`imagenet`, `none`, or a file of weights; a run's model.safetensors gives its trunk."""
    stride_on: Literal["conv1", "conv2"] = "conv2"
    """ResNet-50 variant: `conv1` for V1 weights, `conv2` for torchvision's (V1.5)."""
    last_stride: int = 2
    """Stride of the last strided stage of the trunk; 1 doubles height and width of the feature map."""
    height: int = 288
    """Pixels."""
    width: int = 144
    """Pixels."""
    feature_dim: int = 512
    """Length of f_v and f_a."""
    embedding_dim: int = 128
    """Length of e_v and e_a."""
    noise_dim: int = 400
    """Length of z (sec. 3.2)."""
    stripes: int = 0
    """Horizontal stripes of the feature map, averaged one by one beside the whole; 0 averages the whole alone. Hair,
    upper and lower body have their places in a picture of a person."""
    feature_norm: Literal["none", "batch"] = "none"
    """`batch` standardises f_v with a BatchNorm, which brings it into the range of G_V."""
    generator_output: Literal["tanh", "linear"] = "tanh"
    """Output of G_V; `tanh` cannot reach an f_v beyond +-1."""
    embedding_output: Literal["tanh", "batchnorm"] = "tanh"
    """Output of E_V and E_A; `batchnorm` is an affine-free BatchNorm neck (Luo et al., CVPRW 2019)."""
    encoders: Literal["mlp", "linear"] = "mlp"
    """Attribute backbone, E_V and E_A: MLPs, or `linear`, one layer each. One layer cannot memorise the training
    categories and generalises better to unseen people and descriptions."""
    linear_query: bool = False
    """Add a ridge regression from attributes to image embeddings to the query after training (`closed_form/`)."""
    unit_heads: bool = False
    """Feed C_att and C_cat the L2-normalised embedding, which search ranks by."""
    discriminator_norm: Literal["batch", "spectral"] = "batch"
    """Normalisation inside D_1 and D_2."""
    dropout: float = 0.0
    """Probability of dropping an input of the FC that gives f_v."""


@dataclass(frozen=True)
class DataConfig:
    """Batches and augmentation."""

    batch_size: int = 128
    """Images per iteration, over all processes."""
    validation_fraction: float = 0.0
    """Share of the training categories held out for validation."""
    validation_seed: int = 1
    """Seed that chooses the held-out categories; apart from `run.seed`, so that all runs hold out the same ones."""
    validate_every: int = 5
    """Epochs between validations, if `validation_fraction` is above 0."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    pad: int = 0
    """Pixels of zero padding before a random crop back to size."""
    erase: float = 0.0
    """Probability of erasing a rectangle."""
    erase_area: float = 0.1
    """Largest share of the image that may be erased."""
    brightness: float = 0.0
    """Half-range of a random gain. Augmentation never changes the hue: colours are labels."""
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    """`balanced` draws each category in proportion to the square root of its size."""


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms; 0 switches a term off. In the paper all are 1 (eqs. 7, 12, 13)."""

    category: float = 1.0
    """L_cat, eq. 2."""
    attribute: float = 1.0
    """L_att, eq. 3."""
    label_smoothing: float = 0.1
    """Smoothing of the targets of L_cat and L_att, in [0, 1)."""
    attribute_weighting: Literal["none", "deepmar"] = "none"
    """`deepmar` gives rare values more weight, exp(1 - p) (Li et al., ACPR 2015, eq. 3)."""
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
    """Phase `distil`: Kullback-Leibler divergence of the cosine softmax over the training categories, at
    `prototype_scale`, from the teacher's (not in the paper)."""
    prototype: float = 0.0
    """Cosine softmax of images against E_A of all training categories (not in the paper)."""
    prototype_scale: float = 16.0
    """Factor on the cosines before the softmax."""
    prototype_margin: float = 0.0
    """Margin taken from the cosine to the image's own category."""
    prototype_count: int = 0
    """Prototypes per iteration: the categories of the batch, then others at random; 0 takes all."""
    prototype_unseen: bool = False
    """Add sampled unseen vectors to the prototypes, as negatives or (with `prototype_softness`) as neighbours."""
    prototype_softness: float = 0.0
    """Temperature, in differing attributes, of soft targets that fall with the distance between the image's attribute
    vector and the prototype's; 0 makes the image's own category the only target."""


@dataclass(frozen=True)
class DeepmarConfig:
    """`systems/deepmar.py`."""

    ranking: Literal["likelihood", "cosine"] = "likelihood"
    """Rank by the likelihood of the query's attributes, or by the cosine of their probabilities with the query."""


@dataclass(frozen=True)
class CcaConfig:
    """`systems/cca.py`: dcca and dccae."""

    image_hidden: tuple[int, ...] = (1024, 1024)
    """Sizes of the hidden layers of E_V; none leaves one linear layer."""
    attribute_hidden: tuple[int, ...] = (128, 128)
    """Sizes of the hidden layers of E_A. It learns the training categories by heart if it is large."""
    ridge: float = 1e-4
    """Added to the diagonals of the covariances, in units of their mean."""
    power: float = 0.0
    """Each coordinate of the common space is multiplied by this power of its correlation."""
    reconstruction: float = 1e-3
    """dccae: weight of the squared errors of the decoders, summed over coordinates."""


@dataclass(frozen=True)
class TwoWayConfig:
    """`systems/two_way_net.py`."""

    hidden: tuple[int, ...] = (1024, 256, 128)
    """Sizes of the hidden layers from image features to attributes; the second is the common space."""
    distance: float = 0.25
    """Weight of the squared distance between both channels in the common space."""
    decorrelation: float = 0.05
    """Weight of what is off the diagonal of the second moments of each channel."""
    scales: float = 0.05
    """Weight of the inverse squared scales of the BatchNorms."""
    image_error: float = 1.0
    """Weight of the squared error of the image features, summed over coordinates."""
    dropout: float = 0.5
    """Probability of dropping a hidden unit, in both channels at once."""


@dataclass(frozen=True)
class CmceConfig:
    """`systems/cmce.py`."""

    temperature: float = 0.07
    """Divides the cosines before the softmax."""
    momentum: float = 0.5
    """Share of a category's stored visual feature that stays when the category occurs in a batch."""


@dataclass(frozen=True)
class ReviseConfig:
    """`systems/revise.py`."""

    code: int = 256
    """Length of the codes of both autoencoders."""
    scale: float = 16.0
    """Factor on the cosines before the softmax."""
    reconstruction: float = 0.1
    """Weight of the autoencoders."""
    contraction: float = 1e-4
    """Within it, weight of the squared Jacobian of the visual code."""
    discrepancy: float = 1.0
    """Weight of the maximum mean discrepancy between the codes."""


@dataclass(frozen=True)
class MmccConfig:
    """`systems/mmcc.py`."""

    hidden: int = 4096
    """Size of the hidden layer of generator and critic."""
    cycle: float = 0.01
    """Weight of the cycle: attributes that the regressor reads from a synthetic feature."""
    penalty: float = 10.0
    """Weight of the critic's gradient penalty."""
    feature_mean: float = 0.1
    """Mean of all coordinates to which the image features are scaled. The penalty holds the critic's slope at 1, so the
    generator needs the longer to reach features, the larger they are: with 1 it learned nothing in 400 steps."""
    draws: int = 64
    """Noise vectors over which a query averages, always the same ones."""
    ranking: Literal["images", "attributes"] = "images"
    """Rank in the space of image features, or by the cosine of regressed attributes with the query."""


@dataclass(frozen=True)
class AihmConfig:
    """`systems/aihm.py`."""

    global_size: int = 256
    """Length of the embeddings of the whole image and of the whole description."""
    local_size: int = 64
    """Length of the embeddings of each attribute."""
    category: float = 1.0
    """Weight of the category losses of the global embeddings."""
    attribute: float = 1.0
    """Weight of the attribute losses of the local embeddings, averaged over the attributes."""


@dataclass(frozen=True)
class SystemConfig:
    """The settings of each system that SAL is compared with (`systems/`), under its name; a system reads its own."""

    deepmar: DeepmarConfig = DeepmarConfig()
    cca: CcaConfig = CcaConfig()
    two_way: TwoWayConfig = TwoWayConfig()
    cmce: CmceConfig = CmceConfig()
    revise: ReviseConfig = ReviseConfig()
    mmcc: MmccConfig = MmccConfig()
    aihm: AihmConfig = AihmConfig()


@dataclass(frozen=True)
class UnseenConfig:
    """Sampling of unseen attribute combinations (sec. 3.4)."""

    share: float = 1.0
    """Unseen vectors per real sample in a batch; 0 trains on seen vectors only."""
    sampler: Literal["bernoulli", "schema", "flip"] = "bernoulli"
    """`bernoulli` is the paper's; `schema` makes one draw per exclusive group, "none" among its outcomes;
    `flip` changes one or two groups of a training vector."""
    reject_seen: bool = False
    """Redraw vectors that turn out to be training categories."""


@dataclass(frozen=True)
class OptimiserConfig:
    """One optimiser per network, whichever phases train it."""

    kind: Literal["adam", "adamw", "sgd"] = "adam"
    """`adam` adds the weight decay to the gradient, `adamw` decouples it; `sgd` has a Nesterov momentum of 0.9."""
    betas: tuple[float, ...] = (0.9, 0.999)
    """Decays of the mean gradient and of the mean square, for `adam` and `adamw`."""
    weight_decay: float = 5e-4
    decay_norm_and_bias: bool = True
    """Apply the weight decay to biases and normalisation layers, too."""
    gradient_clip: float = 0.0
    """Largest gradient norm of a phase; 0 does not clip."""
    ema: float = 0.0
    """Decay of the exponential moving average of the deployed networks; 0 keeps none."""
    batchnorm_real_only: bool = False
    """Keep synthetic batches out of the running statistics of E_V and E_A."""
    batchnorm_of_categories: bool = False
    """Validate and save the attribute branch with BatchNorm statistics over the training categories, each counted once,
    as queries are. Otherwise its statistics are those of training batches, which count a category once per image."""


@dataclass(frozen=True)
class StageConfig:
    """Some epochs with the same phases, which run in the given order in every iteration; optimisers start afresh."""

    name: str = "symbiotic"
    phases: tuple[str, ...] = ()
    """Keys of `sal_train.phases.PHASES`, or of the phases of another system (`systems/`)."""
    epochs: int = 60
    schedule: Literal["steps", "cosine"] = "steps"
    """Schedule of the learning rate: `steps` halves it at `milestones`, `cosine` lowers it to 0 after `warmup`."""
    milestones: tuple[float, ...] = ()
    """`steps`: fractions of the stage after which the rate halves."""
    warmup: float = 0.0
    """`cosine`: share of the stage in which the rate rises linearly from a tenth."""
    frozen_trunk: bool = False
    """Do not train the convolutions. Their pooled output is computed once for every image and its mirror image, so an
    epoch takes seconds on a CPU; `data.flip` is the only augmentation that applies."""
    linear_generator: bool = False
    """Begin the stage with the encoders that are best under a linear generator of pooled features, in closed form
    (`closed_form/`; not in the paper). It needs `frozen_trunk`; the phase `heads` then trains the heads. The saved
    model is of this stage or a later one."""
    frozen_blocks: int = 0
    """Blocks of the trunk, from the input on, that do not train; an OSNet has 12, the first 4 at full resolution."""
    cache_frozen: bool = False
    """Compute the output of the frozen blocks once for every image and its mirror image. An epoch is then several times
    faster, but of the augmentations only `data.flip` applies, and `data.erase` to the map. With `frozen_trunk`, the
    pooled output is computed from it, which saves most of the time if an earlier stage has kept it."""
    learning_rate: float = 1e-4
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    """Rate by network, where it differs from `learning_rate`; `trunk` names the convolutions of the image backbone."""
    layer_decay: float = 1.0
    """Factor on the rate of each block of the trunk to the rate of the block behind it; the last has the full rate."""


@dataclass(frozen=True)
class RunConfig:
    """Machine and bookkeeping."""

    seed: int = 1
    start_from: str = ""
    """Folder of a finished run, of the same networks and training categories, that gives the initial weights."""
    teacher: str = ""
    """Folder of a finished run on the same data, for the phase `distil`: the student takes its attribute branch and
    heads, and imitates its image embeddings."""
    other_teachers: tuple[str, ...] = ()
    """Folders of further runs on the same data: the student imitates the mean of their embeddings and the teacher's."""
    device: str = "auto"
    """`auto` uses CUDA if there is a CUDA device, and says which device it chose; `cpu` and `cuda` are strict."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the image backbone in training."""
    device_resident: Literal["auto", "always", "never"] = "auto"
    """Keep all training images on the device; `auto` does on CUDA if they fit into half of the free memory."""
    compile: bool = False
    """Compile the image backbone with torch.compile."""
    checkpoint_every: int = 1
    """Epochs between checkpoints. The last epoch, and the one after which a run stops early, always write one."""
    deterministic: bool = True
    """Use deterministic kernels; exact resuming on CUDA needs them."""


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    losses: LossConfig = LossConfig()
    system: SystemConfig = SystemConfig()
    unseen: UnseenConfig = UnseenConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    stages: tuple[StageConfig, ...] = ()
    run: RunConfig = RunConfig()

    @property
    def epochs(self) -> int:
        """Epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)
