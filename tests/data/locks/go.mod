module example.test/shop/cmd

go 1.22

require (
	example.test/local v1.0.0
	github.com/google/uuid v1.3.0
	golang.org/x/text v0.3.7
)

replace golang.org/x/text => golang.org/x/text v0.14.0

replace example.test/local => ./local
