"""The raw output is recovered from the host's denoised one for every parameterisation it has."""

from __future__ import annotations

import pytest
import torch

TYPES = ("EPS", "V_PREDICTION", "V_PREDICTION_EDM", "EDM", "FLOW", "FLUX", "FLOW_COSMOS",
         "V_PREDICTION_CONTINUOUS", "V_PREDICTION_DDPM", "IMG_TO_IMG", "STABLE_CASCADE")  # fmt: skip


class ModelConfig:
    """The part of a model's config that its sampling reads."""

    sampling_settings: dict = {}


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("progress", [0.1, 0.5, 0.9])
def test_denoised_gives_the_raw_output_back(host, name, progress):
    import comfy.model_base
    from sencache.nodes.host.sampling import raw_output

    kind = getattr(comfy.model_base.ModelType, name, None)
    if kind is None:
        pytest.skip(f"this host has no {name} models")
    sampling = comfy.model_base.model_sampling(ModelConfig(), kind)
    generator = torch.Generator().manual_seed(3)
    sigma = torch.tensor([sampling.percent_to_sigma(progress)] * 2)
    x = torch.randn(2, 4, 3, 5, 5, generator=generator) * (1 + sigma[0])
    output = torch.randn(x.shape, generator=generator)
    denoised = sampling.calculate_denoised(sigma, output, x)
    kept = x.clone(), denoised.clone()
    recovered = raw_output(sampling, sigma, denoised, x)
    assert torch.allclose(recovered, output, atol=2e-4)
    assert torch.equal(x, kept[0]) and torch.equal(denoised, kept[1])


def test_in_a_run_it_is_what_the_network_gave(host, wan, sample):
    import comfy.patcher_extension
    from sencache.nodes.host.sampling import raw_output

    given, recovered = [], []
    model = wan.clone()

    def network(executor, *args, **kwargs):
        output = executor(*args, **kwargs)
        given.append(output.float().clone())
        return output

    def batch(executor, inner, conds, x_in, sigma, model_options):
        outputs = executor(inner, conds, x_in, sigma, model_options)
        recovered.append([raw_output(inner.model_sampling, sigma, denoised, x_in) for denoised in outputs])
        return outputs

    wrappers = comfy.patcher_extension.WrappersMP
    model.add_wrapper_with_key(wrappers.DIFFUSION_MODEL, "test", network)
    model.add_wrapper_with_key(wrappers.CALC_COND_BATCH, "test", batch)
    sample(model, steps=4)
    assert len(given) == len(recovered) == 4
    for output, branches in zip(given, recovered, strict=True):
        # the host stacks the negative branch first
        assert torch.allclose(output, torch.cat([branches[1], branches[0]]), atol=1e-4)
