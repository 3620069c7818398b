"""Makes a trained model smaller or faster before it is converted, and says what that cost.

Not aware of variants, targets or bundles. May be imported by `edgepack.build.training`.
"""
