"""Run by QGIS's own Python: open what was published, say what QGIS sees, draw each layer.

usage: open_outputs.py JOB.json RESULT.json

The job lists layers: {"name", "path", "type": "raster" | "vector", "at": [x, y] or null, "png"}.
"""

import json
import sys
from pathlib import Path

from qgis.core import (
    QgsApplication,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsPointXY,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor


def main(job_path, result_path):
    QgsApplication.setPrefixPath("/usr", True)
    application = QgsApplication([], False)
    application.initQgis()
    messages = []
    application.messageLog().messageReceived.connect(
        lambda *m: messages.append([str(x) for x in m])
    )
    layers = [seen(job) for job in json.loads(Path(job_path).read_text())]
    Path(result_path).write_text(json.dumps({"layers": layers, "messages": messages}))
    application.exitQgis()


def seen(job):
    """Open one layer as a user would, with the style QGIS finds by itself."""
    kind = QgsRasterLayer if job["type"] == "raster" else QgsVectorLayer
    layer = kind(job["path"], job["name"])
    result = {"name": job["name"], "valid": layer.isValid()}
    if not layer.isValid():
        return result
    result |= {"crs": layer.crs().authid(), "renderer": layer.renderer().type()}
    result |= of_raster(layer, job["at"]) if job["type"] == "raster" else of_vector(layer)
    result["colours"] = draw(layer, job["png"])
    return result


def of_raster(layer, at):
    renderer = layer.renderer()
    result = {"size": [layer.width(), layer.height()]}
    if at:
        value, known = layer.dataProvider().sample(QgsPointXY(*at), 1)
        result["value"] = value if known else None
    if renderer.type() == "paletted":
        result["classes"] = [[c.value, c.label, c.color.name()] for c in renderer.classes()]
    if renderer.type() == "singlebandpseudocolor":
        ramp = renderer.shader().rasterShaderFunction().colorRampItemList()
        result["ramp"] = [[item.value, item.color.name()] for item in ramp]
        result["limits"] = [renderer.classificationMin(), renderer.classificationMax()]
    return result


def of_vector(layer):
    result = {"count": layer.featureCount(), "fields": [field.name() for field in layer.fields()]}
    if layer.renderer().type() == "categorizedSymbol":
        result["classes"] = [
            [c.value(), c.label(), c.symbol().color().name()] for c in layer.renderer().categories()
        ]
    return result


def draw(layer, path):
    """Draw a layer to a PNG and return how many colours the picture has."""
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(layer.extent().buffered(layer.extent().width() * 0.05))
    settings.setOutputSize(QSize(480, 360))
    settings.setBackgroundColor(QColor("white"))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    picture = job.renderedImage()
    picture.save(path)
    return len({picture.pixel(x, y) for x in range(0, 480, 3) for y in range(0, 360, 3)})


if __name__ == "__main__":
    main(*sys.argv[1:])
