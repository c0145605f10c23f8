"""main: what a program does."""
import asyncio, pollring

async def main():
    await asyncio.sleep(0)
