"""What configs/sensors/ and configs/catalogs/ may say: how imagery is found and what it means."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.plan.base import Identifier, Plan, Positive

Quantity = Literal["reflectance", "radiance", "backscatter", "elevation"]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]


class Band(Plan):
    """One band of a sensor."""

    assets: tuple[str, ...] = Field(min_length=1)
    """Names the band's asset goes by, in order of preference; `*` stands for anything."""
    number: Annotated[int, Field(ge=1)] = 1
    """Its place in the asset's file, from 1."""
    wavelength: Positive | None = None
    """Band centre, nm; None for what has none (radar, elevation)."""
    fwhm: Positive | None = None
    """Full width at half maximum, nm."""
    resolution: Positive | None = None
    """Pixel size of the original, metres; None: the sensor's."""
    until: Day | None = None
    """The day from which on the band is not to be used."""
    gains: dict[str, Positive] = {}
    """Radiance per count by gain setting (W m-2 sr-1 um-1), where the item tells the setting."""

    @property
    def light(self) -> tuple[float, float]:
        """Band centre and full width at half maximum, nm; ValueError if it sees no light."""
        if self.wavelength is None or self.fwhm is None:
            raise ValueError("the band has no wavelength and fwhm")
        return self.wavelength, self.fwhm


class Mask(Plan):
    """A quality mask of classes or of bits, read by nearest neighbour and never otherwise."""

    assets: tuple[str, ...] = Field(min_length=1)
    number: Annotated[int, Field(ge=1)] = 1
    """The band of the asset's file, from 1."""
    encoding: Literal["classes", "bits"] = "classes"
    flags: dict[Identifier, tuple[Annotated[int, Field(ge=0)], ...]] = Field(min_length=1)
    """What the numbers mean: by name, classes or places of bits. A class that no flag names is
    dropped; a bit that no flag names says nothing."""
    drop: tuple[Identifier, ...]
    """The flags of ground that is not clear, unless the workflow says otherwise."""
    optional: bool = False
    """Whether an item may lack it."""

    @model_validator(mode="after")
    def _known_flags(self) -> "Mask":
        if unknown := set(self.drop) - self.flags.keys():
            raise ValueError(f"drop names {', '.join(sorted(unknown))}, which is no flag")
        return self


class Holding(Plan):
    """A collection in which a catalog keeps a sensor's items."""

    collection: str
    offset: Literal["declared", "baseline", "observed"] = "declared"
    """Where the truth about the offset is: in what items declare, in their processing baseline, or
    only in the pixels."""


class Sensor(Plan):
    """configs/sensors/<name>.yaml: how a sensor's numbers become surface reflectance."""

    title: str
    quantity: Quantity = "reflectance"
    platforms: tuple[str, ...] = ()
    """Platforms whose items it describes, in small letters; none named means any."""
    holdings: dict[str, tuple[Holding, ...]] = {}
    """By catalog (configs/catalogs/), where its items are."""
    bands: dict[Identifier, Band] = {}
    spectrum: "Spectrum | None" = None
    """Instead of bands, where they are many and all in one asset."""
    parts: tuple[tuple[Identifier, ...], ...] = ()
    """Groups of bands that an index must not mix; none: all of them may be mixed."""
    resolution: Positive
    """Pixel size that mapping uses unless the workflow says otherwise, metres."""
    scale: float = 1.0
    """Quantity per count where the item declares none."""
    offset: float = 0.0
    """Quantity of count zero where the item declares none."""
    nodata: float | None = None
    calibration: Literal["declared", "fixed", "sentinel2", "gains"] = "declared"
    """Who says what counts mean: the item; this file (an item that differs is refused); the rule of
    Sentinel-2, which asks the pixels too; or the item's gain settings (ASTER)."""
    masks: tuple[Mask, ...] = ()
    tried_on: str | None = None
    """The real imagery it has been run on; None: none yet."""
    source: str

    @model_validator(mode="after")
    def _bands_of_the_spectrum(self) -> "Sensor":
        if bool(self.bands) == (self.spectrum is not None):
            raise ValueError("give either bands or spectrum")
        return self.model_copy(update={"bands": self.spectrum.bands()}) if self.spectrum else self

    @model_validator(mode="after")
    def _optical_bands_have_wavelengths(self) -> "Sensor":
        if self.quantity in ("reflectance", "radiance"):
            for name, band in self.bands.items():
                if band.wavelength is None or band.fwhm is None:
                    raise ValueError(f"band {name} has no wavelength and fwhm")
        if unknown := {name for part in self.parts for name in part} - self.bands.keys():
            raise ValueError(f"parts names {', '.join(sorted(unknown))}, which is no band")
        return self


class Spectrum(Plan):
    """The bands of an imaging spectrometer: one asset, a wavelength for each band of its file."""

    assets: tuple[str, ...] = Field(min_length=1)
    wavelengths: tuple[Positive, ...] = Field(min_length=1)
    """Centres in the order of the file, nm."""
    fwhms: tuple[Positive, ...] = Field(min_length=1)
    """Widths in the same order, nm."""
    skip: tuple[tuple[float, float], ...] = ()
    """Spans of wavelength that are left out (water vapour, weak detectors), nm."""
    leave: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Numbers of bands that are left out, where two detectors see the same light."""

    @model_validator(mode="after")
    def _as_many(self) -> "Spectrum":
        if len(self.wavelengths) != len(self.fwhms):
            raise ValueError("spectrum has not as many fwhms as wavelengths")
        return self

    def bands(self) -> dict[str, Band]:
        """Return its bands by their place in the file, without those left out."""
        return {
            f"b{number:03d}": Band(assets=self.assets, number=number, wavelength=centre, fwhm=width)
            for number, (centre, width) in enumerate(
                zip(self.wavelengths, self.fwhms, strict=True), start=1
            )
            if number not in self.leave
            and not any(low <= centre <= high for low, high in self.skip)
        }


class Catalog(Plan):
    """configs/catalogs/<name>.yaml: where a STAC API is, and how its assets are read."""

    title: str
    address: str = Field(pattern=r"^https://")
    hosts: tuple[str, ...] = ()
    """Hosts its assets may be read from, besides its own; `*.example.org` is any below it."""
    access: Literal["open", "planetary-computer", "bearer", "basic"] = "open"
    """How a read is authorised: not at all, by a signature on the address, by a token, by a user
    name and password."""
    credentials: tuple[str, ...] = ()
    """Environment variables: of the token, or of the user name and the password."""
    signing: str | None = None
    """Address that gives signatures."""
    alternate: str | None = None
    """Name of the alternate href to read, where an asset's own cannot be."""
    https: dict[str, str] = {}
    """How addresses that begin in one way (an open bucket, s3://name/) begin over https."""
    source: str

    @model_validator(mode="after")
    def _has_what_access_needs(self) -> "Catalog":
        needed = {"bearer": 1, "basic": 2}.get(self.access, 0)
        if len(self.credentials) < needed:
            raise ValueError(f"access '{self.access}' needs {needed} names under credentials")
        if (self.access == "planetary-computer") != (self.signing is not None):
            raise ValueError("access 'planetary-computer' and signing go together")
        return self
