# SPDX-License-Identifier: MIT
"""Which parameters do the data determine? A particle on a spring with friction, in two seconds."""

import numpy as np
import torch

from meanforce import identifiability

torch.set_num_threads(1)
kT, parameters = 2.5, {"k": 2.0, "gamma": 3.0}  # kJ/mol, kJ/mol/nm^2, kJ/mol ps/nm^2
t = torch.linspace(0.0, 3.0, 31, dtype=torch.float64)  # ps


def normalised(p):
    return torch.exp(-p["k"] / p["gamma"] * t)


def unnormalised(p):
    return kT / p["k"] * normalised(p)


def at_short_times(p):
    return kT / p["k"] * torch.exp(-p["k"] / p["gamma"] * t / 300)


print("From R(t) = exp(-k t/gamma):")
ratio = identifiability.analyse(normalised, parameters, 0.01, logarithmic=True)
print(ratio)
print("\nFrom C(t) = kT/k exp(-k t/gamma):")
print(identifiability.analyse(unnormalised, parameters, 0.01, logarithmic=True))
print("\nFrom C(t) at times much shorter than gamma/k:")
print(identifiability.analyse(at_short_times, parameters, 0.05, logarithmic=True))

further = identifiability.rank_candidates(
    ratio,
    {
        "R(t) again": (normalised, 0.01),
        "C(0) to 5 %": (lambda p: kT / p["k"].reshape(1), 0.05 * kT / parameters["k"]),
    },
)
profile = identifiability.profile_likelihood(normalised, parameters, 0.01, "k", np.geomspace(1, 4, 9), logarithmic=True)
identifiability.write_report("identifiability.html", ratio, [profile], further)
print(f"\nleast known: {further[0]}; best further data: {further[1][0].name}; see identifiability.html")
