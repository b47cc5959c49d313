"""Cameras: added, started, stopped, forgotten. To stop, to forget, and to remove images are three things."""

from __future__ import annotations

from fastapi import APIRouter, Response

from sal_runtime.errors import SalError
from sal_service.api import models, present
from sal_service.api.cameras import ServedCamera
from sal_service.api.gate.json_bodies import StrictRoute
from sal_service.api.held import Admin, Held, Searcher
from sal_service.api.problems import RefusedError, problems
from sal_service.api.service import Service
from sal_service.video.cameras import Camera

router = APIRouter(route_class=StrictRoute, prefix="/v1/cameras", tags=["cameras"])


@router.get("", response_model=models.CamerasAnswer)
def cameras(service: Held, _: Searcher) -> models.CamerasAnswer:
    """All cameras, and what became of their frames."""
    return models.CamerasAnswer(cameras=[_present(service, served) for served in service.cameras.all()])


@router.post("", status_code=201, response_model=models.CameraAnswer, responses=problems(404, 409))
def add(asked: models.CameraRequest, service: Held, principal: Admin) -> models.CameraAnswer:
    """Add a camera, `rtsp://` or `rtsps://`, and take it in."""
    service.gallery(asked.gallery)
    camera = Camera(**asked.model_dump(exclude={"gallery"}))
    _audit(service, principal.name, "camera.add", asked.name)
    try:
        return _present(service, service.cameras.add(asked.gallery, camera))
    except SalError as error:
        raise RefusedError(_status(error), str(error), parameter=error.parameter) from error


@router.post("/{name}/start", response_model=models.CameraAnswer, responses=problems(404))
def start(name: str, service: Held, principal: Admin) -> models.CameraAnswer:
    """Take a camera in again."""
    service.cameras.get(name)
    _audit(service, principal.name, "camera.start", name)
    return _present(service, service.cameras.start(name))


@router.post("/{name}/stop", response_model=models.CameraAnswer, responses=problems(404))
def stop(name: str, service: Held, principal: Admin) -> models.CameraAnswer:
    """Take a camera in no more; it stays on the list, and its images stay."""
    service.cameras.get(name)
    _audit(service, principal.name, "camera.stop", name)
    return _present(service, service.cameras.stop(name))


@router.delete("/{name}", status_code=204, response_class=Response, responses=problems(404, 409))
def remove(name: str, service: Held, principal: Admin) -> Response:
    """Stop a camera and forget it; its images stay until they are removed or purged."""
    service.cameras.get(name)
    _audit(service, principal.name, "camera.remove", name)
    service.cameras.remove(name)
    return Response(status_code=204)


def _present(service: Service, served: ServedCamera) -> models.CameraAnswer:
    return present.camera(served, service.cameras.age(served.camera.name))


def _audit(service: Service, who: str, action: str, name: str) -> None:
    service.audit.append(who, action, None, {"camera": name})


def _status(error: SalError) -> int:
    return {"CameraExistsError": 409}.get(type(error).__name__, 400)
