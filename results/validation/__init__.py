"""Tests of the instrument itself: does a metric move as it must when what it measures gets worse or better?"""
