from softpoint.cli import main

main("demo")
