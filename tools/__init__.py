"""For those who change the code: what does a stage stand on, and did a change move a number?"""
