// The greeter functions with the official Go SDK: `person` counts visits, `greeter` greets.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/apache/flink-statefun/statefun-sdk-go/v3/pkg/statefun"
)

type greetRequest struct {
	Name   string `json:"name"`
	Visits int32  `json:"visits,omitempty"`
}

type egressRecord struct {
	Topic   string `json:"topic"`
	Payload string `json:"payload"`
}

var (
	personType       = statefun.TypeNameFrom("example/person")
	greeterType      = statefun.TypeNameFrom("example/greeter")
	egressType       = statefun.TypeNameFrom("io.statefun.playground/egress")
	greetRequestType = statefun.MakeJsonType(statefun.TypeNameFrom("example/GreetRequest"))
	egressRecordType = statefun.MakeJsonType(statefun.TypeNameFrom("io.statefun.playground/EgressRecord"))
	visitsSpec       = statefun.ValueSpec{Name: "visits", ValueType: statefun.Int32Type}
)

func person(ctx statefun.Context, message statefun.Message) error {
	var request greetRequest
	if err := message.As(greetRequestType, &request); err != nil {
		return fmt.Errorf("no greet request: %w", err)
	}
	var visits int32
	ctx.Storage().Get(visitsSpec, &visits)
	visits++
	ctx.Storage().Set(visitsSpec, visits)
	ctx.Send(statefun.MessageBuilder{
		Target:    statefun.Address{FunctionType: greeterType, Id: request.Name},
		Value:     greetRequest{Name: request.Name, Visits: visits},
		ValueType: greetRequestType,
	})
	return nil
}

func greeter(ctx statefun.Context, message statefun.Message) error {
	var request greetRequest
	if err := message.As(greetRequestType, &request); err != nil {
		return fmt.Errorf("no greet request: %w", err)
	}
	greeting := fmt.Sprintf("Hello %s, this is visit %d.", request.Name, request.Visits)
	ctx.SendEgress(statefun.GenericEgressBuilder{
		Target:    egressType,
		Value:     egressRecord{Topic: "greetings", Payload: greeting},
		ValueType: egressRecordType,
	})
	return nil
}

func main() {
	functions := statefun.StatefulFunctionsBuilder()
	specs := []statefun.StatefulFunctionSpec{
		{
			FunctionType: personType,
			States:       []statefun.ValueSpec{visitsSpec},
			Function:     statefun.StatefulFunctionPointer(person),
		},
		{
			FunctionType: greeterType,
			Function:     statefun.StatefulFunctionPointer(greeter),
		},
	}
	for _, spec := range specs {
		if err := functions.WithSpec(spec); err != nil {
			log.Fatal(err)
		}
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "8000"
	}
	http.Handle("/statefun", functions.AsHandler())
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, nil))
}
