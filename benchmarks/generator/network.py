"""The generator: a residual encoder and decoder that restores blurred, noisy digits, trained against a discriminator of patches.

After pix2pix (Isola and others, "Image-to-Image Translation with Conditional Adversarial Networks", 2017): absolute differences and
an adversarial loss, between pairs of images.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from quant.compress.ganslim import falling

#: Of the adversarial part beside the absolute differences, whose factor is 1.
ADVERSARIAL = 0.01
BLUR, NOISE = 5, 0.2


class Residual(nn.Module):
    """Two convolutions and what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                                   nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, width, H, W), as what it gives."""
        return functional.relu(x + self.inner(x))


class Generator(nn.Sequential):
    """(N, 1, 28, 28) in [0, 1] to the same."""

    def __init__(self, width: int = 24) -> None:
        def up(inputs: int, outputs: int) -> list[nn.Module]:
            return [nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

        def down(inputs: int, outputs: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

        super().__init__(*down(1, width), *down(width, 2 * width), Residual(2 * width), Residual(2 * width), *up(2 * width, width),
                         *up(width, width // 2), nn.Conv2d(width // 2, 1, 3, padding=1), nn.Sigmoid())


def spoiled(clean: Tensor, seed: int) -> Tensor:
    """Blurred and noisy, in steps of 1/255."""
    draw = torch.Generator().manual_seed(seed)
    kernel = torch.ones(1, 1, BLUR, BLUR) / BLUR**2
    blurred = functional.conv2d(clean, kernel, padding=BLUR // 2)
    noisy = blurred + NOISE * torch.randn(clean.shape, generator=draw)
    return torch.round(255 * noisy.clamp(0, 1)) / 255


def trained(given: Tensor, wanted: Tensor, epochs: int, seed: int) -> nn.Module:
    """A generator, in evaluation mode."""
    torch.manual_seed(seed)
    generator = Generator()
    patches = nn.Sequential(nn.Conv2d(2, 16, 4, stride=2, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(16, 32, 4, stride=2, padding=1),
                            nn.BatchNorm2d(32), nn.LeakyReLU(0.2), nn.Conv2d(32, 1, 3))
    of_generator, of_patches = torch.optim.Adam(generator.parameters(), 2e-3), torch.optim.Adam(patches.parameters(), 2e-4)

    def judged(images: Tensor, inputs: Tensor, real: float) -> Tensor:
        found = patches(torch.cat([images, inputs], dim=1))
        return functional.binary_cross_entropy_with_logits(found, torch.full_like(found, real))

    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(given)), 64):
            inputs, target = given[chosen], wanted[chosen]
            made = generator(inputs)
            of_patches.zero_grad()
            (judged(target, inputs, 1.0) + judged(made.detach(), inputs, 0.0)).backward()
            of_patches.step()
            of_generator.zero_grad()
            (functional.l1_loss(made, target) + ADVERSARIAL * judged(made, inputs, 1.0)).backward()
            of_generator.step()
    return generator.eval()


def imitating(student: nn.Module, teacher: nn.Module, given: Tensor, epochs: int, seed: int) -> nn.Module:
    """A network trained to give a teacher's images, in evaluation mode; it is the very one that is given."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        wanted = torch.cat([teacher(part) for part in given.split(100)])
    optimizer = torch.optim.Adam(student.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, falling(epochs))
    student.train()
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(given), generator=draw), 64):
            optimizer.zero_grad()
            functional.mse_loss(student(given[chosen]), wanted[chosen]).backward()
            optimizer.step()
        schedule.step()
    return student.eval()


def psnr_db(found: Tensor, wanted: Tensor) -> float:
    """Peak signal to noise, in decibels, of images in [0, 1]."""
    return float(-10 * torch.log10(functional.mse_loss(found, wanted)))
