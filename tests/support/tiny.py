"""A generator of a few thousand numbers, with all of the real one's parts."""

from my3dgen_jax.config import (BackboneConfig, DecoderConfig, GeneratorConfig,
                                MappingConfig, RenderConfig,
                                SuperresolutionConfig)

TINY = GeneratorConfig(
    z_dim=4, w_dim=4, neural_rendering_resolution=4,
    mapping=MappingConfig(num_layers=2),
    backbone=BackboneConfig(resolution=8, plane_channels=4, channel_base=32,
                            channel_max=4),
    decoder=DecoderConfig(hidden_features=4, color_features=4),
    rendering=RenderConfig(depth_resolution=4, depth_resolution_importance=4),
    superresolution=SuperresolutionConfig(
        module="SuperresolutionHybrid8X", input_resolution=4, channels=(4, 4)))
