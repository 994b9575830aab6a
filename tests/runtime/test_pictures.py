import base64

import cv2
import numpy as np

from runtime.pictures import data_uri


def test_large_pictures_are_shrunk():
    image = np.full((500, 1000, 3), (200, 30, 60), np.uint8)
    uri = data_uri(image)
    assert uri.startswith("data:image/webp;base64,")
    data = base64.b64decode(uri.split(",")[1])
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (320, 640, 3)
    np.testing.assert_allclose(decoded[5, 5, ::-1], (200, 30, 60), atol=6)
