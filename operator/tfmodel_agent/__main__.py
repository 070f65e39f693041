"""`python -m tfmodel_agent run`: the sidecar of every model server pod; `work`: what it supervises; `verify`: its verdicts."""

from __future__ import annotations

import sys

from tfmodel_agent import settings, supervisor


async def work(configured: settings.Settings) -> None:
    """Run one agent until SIGTERM; the end of any part of it ends the process."""
    # Not for the process that supervises: it should stay as small as it is simple.
    import asyncio
    import logging
    import signal

    from aiohttp import web

    from tfmodel_agent import loop
    from tfmodel_agent.web import application

    agent = loop.Agent(configured)
    runner = web.AppRunner(application(agent), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, configured.host, configured.port).start()
    working = asyncio.create_task(agent.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, working.cancel)
    logging.getLogger(__name__).info("Agent started", extra={"server": configured.server, "port": configured.port})
    try:
        await working
    except asyncio.CancelledError:
        logging.getLogger(__name__).info("Agent stopped")
    finally:
        await runner.cleanup()


def main() -> None:
    match sys.argv[1:]:
        case ["run", *arguments]:
            settings.parse(arguments)  # wrong flags end here
            sys.exit(supervisor.supervise([sys.executable, "-m", "tfmodel_agent", "work", *arguments]))
        case ["work", *arguments]:
            import asyncio

            from tfmodel_serving import json_logging

            json_logging.configure()
            asyncio.run(work(settings.parse(arguments)))
        case ["verify", *arguments]:
            from tfmodel_agent import verify

            sys.exit(verify.main(arguments))
        case _:
            sys.exit(
                "usage: python -m tfmodel_agent run --config DIR --view DIR [--server HOST:PORT] [--port N]\n"
                "       python -m tfmodel_agent verify BASE_PATH [--json]"
            )


if __name__ == "__main__":
    main()
