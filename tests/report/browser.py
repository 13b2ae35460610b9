"""Open an HTML file in Qt's Chromium without a screen; print what happened as JSON. Needs PyQt6-WebEngine.

Run as a program, in a process of its own: ``python browser.py FILE SCREENSHOT SCRIPT``.
"""

from __future__ import annotations

import json
import os
import sys

os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ["QTWEBENGINE_CHROMIUM_FLAGS"] = "--no-sandbox --disable-gpu --single-process"
os.environ["QTWEBENGINE_DISABLE_SANDBOX"] = "1"

from PyQt6.QtCore import QTimer, QUrl
from PyQt6.QtWebEngineCore import QWebEnginePage, QWebEngineProfile, QWebEngineUrlRequestInterceptor
from PyQt6.QtWebEngineWidgets import QWebEngineView
from PyQt6.QtWidgets import QApplication

SETTLE_MS = 1500


class Requests(QWebEngineUrlRequestInterceptor):
    """Notes every address that a page asks for, and lets none but files and data pass."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def interceptRequest(self, info) -> None:  # noqa: N802
        url = info.requestUrl()
        if url.scheme() not in ("file", "data"):
            info.block(True)
        if url.scheme() != "data":
            self.urls.append(url.toString())


class Page(QWebEnginePage):
    """Notes what the page writes to the console."""

    def __init__(self, profile: QWebEngineProfile) -> None:
        super().__init__(profile)
        self.messages: list[str] = []

    def javaScriptConsoleMessage(self, level, message, line, source) -> None:  # noqa: N802
        self.messages.append(f"{level.name}: {message} (line {line})")


def main(path: str, screenshot: str, script: str) -> None:
    application = QApplication([sys.argv[0]])
    profile, requests = QWebEngineProfile(), Requests()
    profile.setUrlRequestInterceptor(requests)
    page, view = Page(profile), QWebEngineView()
    view.setPage(page)
    view.resize(1100, 1500)
    view.show()

    def answered(value: object) -> None:
        QTimer.singleShot(SETTLE_MS, lambda: finished(value))

    def finished(value: object) -> None:
        view.grab().save(screenshot)
        print(json.dumps({"value": value, "console": page.messages, "requests": requests.urls}), flush=True)
        os._exit(0)  # Chromium's own end takes long and may fail

    page.loadFinished.connect(
        lambda ok: QTimer.singleShot(SETTLE_MS, lambda: page.runJavaScript(script, answered))
    )
    page.load(QUrl.fromLocalFile(path))
    QTimer.singleShot(60_000, lambda: os._exit(3))
    application.exec()


if __name__ == "__main__":
    main(*sys.argv[1:4])
