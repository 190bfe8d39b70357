"""For those who change the code: what does a stage depend on, and did a number move?"""
