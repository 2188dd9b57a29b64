from softpoint.cli import main

main("convert")
