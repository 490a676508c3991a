import torch

from eutectic.kernels.reference.modal_conv import causal_conv, modal_filter


def test_convolution_equals_the_recurrence_in_float64() -> None:
    g = torch.Generator().manual_seed(0)
    radius = torch.rand(3, 2, generator=g, dtype=torch.float64) * 0.9
    angle = torch.rand(3, 2, generator=g, dtype=torch.float64) * 3
    poles, residues = torch.polar(radius, angle), torch.randn(3, 2, generator=g, dtype=torch.complex128)
    x = torch.randn(2, 37, 3, generator=g, dtype=torch.float64)
    state = torch.zeros(2, 3, 2, dtype=torch.complex128)
    steps = []
    for t in range(37):
        state = poles * state + x[:, t, :, None]
        steps.append((residues * state).sum(-1).real)
    y = causal_conv(x, modal_filter(poles, residues, 37))
    torch.testing.assert_close(y, torch.stack(steps, 1), rtol=1e-12, atol=1e-12)
