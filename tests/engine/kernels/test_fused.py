"""The fused kernels are their torch twins, forward and backward, on random shapes, and models keep their numbers."""

import copy
import ctypes
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import tiny
from heedful.engine.batch import collate
from heedful.engine.kernels import fused, library
from heedful.engine.kernels.choice import Built
from heedful.engine.kernels.head import HeadKernel
from heedful.engine.score import token_columns, use_packed_attention
from heedful.nn.logprob import Head, token_logprobs

FEW = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
widths = st.sampled_from([2, 6, 16, 30, 48, 64, 130, 288])


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_twins(
    kernel: Callable[..., Tensor], twin: Callable[..., Tensor], inputs: list[Tensor], bf16: bool
) -> None:
    """Outputs and gradients are equal: in fp32 to 1e-6 of their norm; in bf16 the kernel is no further from what the
    twin gives in fp64 than three roundings.
    """
    if bf16:
        inputs = [x.to(torch.bfloat16) for x in inputs]
    tried = [x.clone().requires_grad_() for x in inputs]
    exact = [x.double().requires_grad_() for x in inputs]
    found, expected = kernel(*tried), twin(*exact)
    along = normal(7, *found.shape).to(found.dtype)
    found.backward(along)
    expected.backward(along.double())
    assert found.dtype == inputs[0].dtype
    gradients = [(x.grad, y.grad) for x, y in zip(tried, exact, strict=True)]
    for one, other in [(found, expected), *gradients]:
        assert one is not None
        assert other is not None
        scale = float(other.detach().norm()) or 1.0
        assert float((one.double() - other).detach().norm()) / scale < (3 * 2**-8 if bf16 else 1e-6)


@FEW
@given(
    seed=st.integers(0, 99),
    rows=st.integers(1, 80),
    width=widths,
    shift=st.integers(0, 1),
    bf16=st.booleans(),
)
def test_rms_norm(kernels: Built, seed: int, rows: int, width: int, shift: int, bf16: bool) -> None:
    def exact(x: Tensor, w: Tensor) -> Tensor:
        return (w + shift) * x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()

    inputs = [3 * normal(seed, 1, rows, width), normal(seed + 1, width)]
    assert_twins(lambda x, w: fused.rms_norm(kernels, x, w, 1e-6, shift), exact, inputs, bf16)
    torch.testing.assert_close(
        fused.rms_norm_twin(*inputs, 1e-6, shift), exact(*inputs), rtol=1e-5, atol=1e-6
    )


@FEW
@given(seed=st.integers(0, 99), rows=st.integers(1, 40), width=widths, bf16=st.booleans())
def test_swiglu(kernels: Built, seed: int, rows: int, width: int, bf16: bool) -> None:
    inputs = [5 * normal(seed, 1, rows, width), normal(seed + 1, 1, rows, width)]
    assert_twins(lambda g, u: fused.swiglu(kernels, g, u), fused.swiglu_twin, inputs, bf16)
    halves = torch.cat(inputs, -1)
    apart = fused.swiglu(kernels, halves[..., :width], halves[..., width:])
    assert torch.equal(apart, fused.swiglu(kernels, *inputs))


@FEW
@given(
    seed=st.integers(0, 99),
    rows=st.integers(1, 40),
    heads=st.integers(1, 5),
    width=widths,
    bf16=st.booleans(),
)
def test_rotary(kernels: Built, seed: int, rows: int, heads: int, width: int, bf16: bool) -> None:
    cos, sin = normal(seed, 1, rows, width).cos(), normal(seed, 1, rows, width).sin()
    if bf16:
        cos, sin = cos.to(torch.bfloat16), sin.to(torch.bfloat16)
    x = normal(seed + 1, 1, rows, heads, width).transpose(1, 2)
    assert_twins(
        lambda x: fused.rotary(kernels, x, cos, sin),
        lambda x: fused.rotary_twin(x, cos.to(x.dtype), sin.to(x.dtype)),
        [x],
        bf16,
    )


@FEW
@given(
    seed=st.integers(0, 99),
    rows=st.integers(1, 30),
    vocabulary=st.sampled_from([2, 17, 97, 300]),
    entropy=st.booleans(),
    at_once=st.integers(1, 32),
    guess=st.booleans(),
    bf16=st.booleans(),
)
def test_head(
    kernels: Built,
    seed: int,
    rows: int,
    vocabulary: int,
    entropy: bool,
    at_once: int,
    guess: bool,
    bf16: bool,
) -> None:
    """Log-probs, entropies and gradients by the kernel are those of whole logits in fp64."""
    targets = torch.randint(vocabulary, (rows,), generator=torch.Generator().manual_seed(seed))
    on_logp, on_entropy = normal(seed + 2, 2, rows)

    class Told:
        def __call__(self, part: slice, logp: Tensor, entropy: Tensor | None) -> tuple[Tensor, Tensor | None]:
            return on_logp[part], None if entropy is None else on_entropy[part]

        def missed(self) -> None:
            raise AssertionError("the guess was right")

    def kernel(hidden: Tensor, weight: Tensor) -> Tensor:
        logp, found = token_logprobs(
            hidden,
            Head(weight),
            targets,
            entropy=entropy,
            rows=at_once,
            guess=Told() if guess else None,
            kernel=HeadKernel(kernels),
        )
        return (logp * on_logp).sum() + (0.0 if found is None else (found * on_entropy).sum())

    def twin(hidden: Tensor, weight: Tensor) -> Tensor:
        z = hidden @ weight.t()
        if bf16:  # as the product leaves them
            z = z + (z.to(torch.bfloat16).double() - z).detach()
        logp = z.log_softmax(-1)
        value = (logp.gather(-1, targets[:, None])[:, 0] * on_logp).sum()
        return value - ((logp.exp() * logp).sum(-1) * on_entropy).sum() if entropy else value

    inputs = [
        x.to(torch.bfloat16) if bf16 else x for x in (normal(seed, rows, 8), normal(seed + 1, vocabulary, 8))
    ]
    tried, exact = [x.clone().requires_grad_() for x in inputs], [x.double().requires_grad_() for x in inputs]
    found, expected = kernel(*tried), twin(*exact)
    found.backward()
    expected.backward()
    torch.testing.assert_close(found.detach().double(), expected.detach(), rtol=1e-5, atol=1e-4)
    scale = max(float(y.grad.norm()) for y in exact if y.grad is not None)
    for one, other in zip(tried, exact, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert float((one.grad.double() - other.grad).norm()) <= (2e-2 if bf16 else 2e-6) * scale


def test_a_target_outside_the_vocabulary_is_an_error(built: ctypes.CDLL) -> None:
    hidden, weight = normal(0, 2, 8), normal(1, 5, 8)
    with pytest.raises(IndexError, match="vocabulary"):
        token_logprobs(hidden, Head(weight), torch.tensor([0, 5]), kernel=HeadKernel(built))


def test_extreme_gates(kernels: Built) -> None:
    gate = torch.tensor([[-200.0, -90.0, 0.0, 90.0, 200.0, float("nan")]])
    found, expected = fused.swiglu(kernels, gate, gate), fused.swiglu_twin(gate, gate)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-30, equal_nan=True)


def test_threads_and_neighbours_do_not_change_a_bit(built: ctypes.CDLL) -> None:
    x, w = normal(0, 500, 96).requires_grad_(), normal(1, 96).requires_grad_()

    def run(x: Tensor) -> list[Tensor]:
        y = fused.rms_norm(built, x, w, 1e-6, 0)
        return [y, *torch.autograd.grad(y.square().sum(), (x, w)), fused.swiglu(built, x, x)]

    expected, before = run(x), torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        assert all(map(torch.equal, run(x), expected))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(run(x[7:8])[0], expected[0][7:8])


@pytest.mark.parametrize("name", tiny.configs())
def test_every_architecture_keeps_its_numbers(
    built: ctypes.CDLL, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.model(tiny.configs()[name])
    use_packed_attention(model)
    packed = collate(tiny.trees())

    def gradients() -> dict[str, Tensor]:
        model.zero_grad()
        token_columns(model, packed, entropy=False)["logp"].sum().backward()
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    found = gradients()
    monkeypatch.setattr(library, "_kept", [library.TORCH])
    expected = gradients()
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-4, msg=key)


def test_which_layers_are_sent_through_the_kernels(
    built: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Norms, MLPs and rotary embeddings of Llama and its like; a model's copy uses its own weights."""
    called: dict[str, int] = {}
    call = fused.call

    def counted(built: ctypes.CDLL, name: str, *args: object) -> None:
        called[name] = called.get(name, 0) + 1
        call(built, name, *args)

    monkeypatch.setattr(fused, "call", counted)
    expected = {"llama": (5, 2, 4), "gemma2": (9, 0, 4), "qwen3": (9, 2, 4), "gpt2": (0, 0, 0)}
    for name, counts in expected.items():
        model = tiny.model(tiny.configs()[name])
        use_packed_attention(model)
        with torch.no_grad():
            token_columns(model, collate(tiny.trees()), entropy=False)  # tries the head once
            called.clear()
            token_columns(model, collate(tiny.trees()), entropy=False)
        assert tuple(called.get(k, 0) for k in ("norm_forward", "swiglu_forward", "rotary")) == counts, name
    model = tiny.llama()
    use_packed_attention(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
        assert token_columns(model, collate(tiny.trees()), entropy=False)["logp"].std() > 0
        assert token_columns(other, collate(tiny.trees()), entropy=False)["logp"].std() < 1e-5
