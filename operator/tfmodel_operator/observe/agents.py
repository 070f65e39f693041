"""What the agents say at `/v1/state`.

Only pods of our own are asked, at the address the API server gives; the answer must carry the pod's UID, because an
address may have gone to another pod since. No redirects, bounded in time and size.
"""

from __future__ import annotations

import json

import aiohttp

from tfmodel_operator.api import labels
from tfmodel_serving import state

TIMEOUT = aiohttp.ClientTimeout(total=2)


class AgentUnreachable(Exception):
    """No usable answer; it says nothing about the models."""


async def fetch_state(session: aiohttp.ClientSession, pod_ip: str, pod_uid: str) -> state.AgentState:
    """Ask one agent.

    Raises:
        AgentUnreachable: No answer within two seconds, or not one of this pod's agent.
    """
    url = f"http://[{pod_ip}]" if ":" in pod_ip else f"http://{pod_ip}"
    try:
        async with session.get(f"{url}:{labels.AGENT_PORT}/v1/state", allow_redirects=False, timeout=TIMEOUT) as response:
            body = await response.content.read(state.MAX_BYTES + 1)
            if response.status != 200 or len(body) > state.MAX_BYTES:
                raise AgentUnreachable(f"HTTP {response.status}, {len(body)} bytes")
        found = state.from_dict(json.loads(body))
    except (aiohttp.ClientError, TimeoutError) as error:
        raise AgentUnreachable(str(error) or type(error).__name__) from error
    except (ValueError, UnicodeDecodeError) as error:
        raise AgentUnreachable(f"the answer can't be read: {error}") from error
    if found.pod_uid != pod_uid:
        raise AgentUnreachable("another pod answers at its address")
    return found
